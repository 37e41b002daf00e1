from support.buckets import object_server  # noqa: F401 - fixtures
from support.redis import redis_url  # noqa: F401 - fixtures
