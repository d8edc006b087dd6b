"""The networks of problems and agents, as flax modules or functions of parameters."""

from ._actor_critic import actor_critic as actor_critic
from ._conv_net import ConvNet as ConvNet
from ._conv_net import conv_net as conv_net
from ._critic_ensemble import critic_ensemble as critic_ensemble
from ._dense import dense_network as dense_network
from ._deterministic_actor import deterministic_actor as deterministic_actor
from ._grid_actor_critic import grid_actor_critic as grid_actor_critic
from ._mlp import MLP as MLP
from ._normal_actor import normal_actor as normal_actor
from ._normal_actor import normal_actor_layers as normal_actor_layers
from ._resnet import ResNet as ResNet
from ._resnet import resnet18 as resnet18
