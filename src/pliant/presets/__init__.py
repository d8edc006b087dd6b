"""Named configurations: one file per problem or method, with its name. They are data and import no other package."""
