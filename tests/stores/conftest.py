from support.buckets import bucket, object_server  # noqa: F401 - fixtures
from support.fixtures import no_environment, nothing_left  # noqa: F401 - fixtures
