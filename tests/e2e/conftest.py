from support.fixtures import no_environment, nothing_left

__all__ = ["no_environment", "nothing_left"]
