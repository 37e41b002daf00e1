import asyncio
import os
import pickle

import pytest
from common import BASE_URL, PING, client

from prodia_async import InputError, Prodia

data = pickle.dumps(Prodia(base_url=BASE_URL))
assert os.environ["PRODIA_TOKEN"].encode() not in data
if "SCENARIO_CA" not in os.environ:
    assert asyncio.run(pickle.loads(data).run(PING)).id

explicit = Prodia(base_url=BASE_URL, token="explicit-token")
with pytest.raises(InputError, match="pickle_token"):
    pickle.dumps(explicit)
allowed = pickle.loads(pickle.dumps(Prodia(base_url=BASE_URL, token="explicit-token", pickle_token=True)))
assert "explicit-token" not in repr(allowed)
assert client().stats().jobs == 0
