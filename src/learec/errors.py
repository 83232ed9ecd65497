"""The errors a user can meet: each message is one sentence that says what to do next."""


class LearecError(Exception):
    """Something the user can mend. The command line prints the message alone and exits with 2."""


class DataError(LearecError):
    """A log or an item table cannot be used as it is."""


class ConfigError(LearecError):
    """A recipe, an option or the installation asks for something that cannot be done."""


class ArtifactError(LearecError):
    """A folder is missing, damaged, stale, or holds something that learec did not write."""
