"""What went wrong, in one line that a user can act on."""


class ConfigError(ValueError):
    """A configuration that has no meaning; raised before anything is compiled."""


def require(condition: bool, name: str, value, allowed: str) -> None:
    """Raise ConfigError unless the condition holds."""
    if not condition:
        raise ConfigError(f"{name} is {value!r}; allowed: {allowed}")
