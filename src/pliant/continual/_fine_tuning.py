"""Fine-tuning: the network of a task is the start of the next."""

from pliant.core.clock import Task
from pliant.core.continual import Continual

from ._copies import stored_copies


def fine_tuning(tasks: tuple[Task, ...], copies: bool = False) -> Continual:
    r"""Fine-tuning: the network learns the tasks one after another, with no means against forgetting.

    With $\theta_t$ the parameters at the end of task $t$, task $t + 1$ begins from $\theta_t$. After all $T$ tasks
    $\theta_T$ acts on each of them, or with `copies` $\theta_t$ acts on task $t$: nothing is forgotten, and the memory
    grows with the number of tasks.

    Args:
        tasks: of the run.
        copies: whether the network at the end of each task is stored for that task: FT-N; else one network: FT-1.

    Differs from the authors' code: nothing.

    References:
        Gaya et al., `Building a subspace of policies for scalable continual learning
        <https://arxiv.org/abs/2211.10445>`_, ICLR 2023: FT-1 and FT-N. Sun and Mu, Rewiring neurons in non-stationary
        environments, NeurIPS 2023.

    Example:
        >>> import pliant.continual
        >>> from pliant.core.clock import Task
        >>> method = pliant.continual.fine_tuning((Task("moon", 1000), Task("normal", 2000)), copies=True)
        >>> method.per_task
        True
    """
    return stored_copies(len(tasks)) if copies else Continual()
