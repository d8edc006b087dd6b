"""Named configurations: one file per problem, with the problem's name. They are data and import no other package."""
