import asyncio
import os
import pickle

from common import BASE_URL, PING, client

from prodia_async import InputError, Prodia

data = pickle.dumps(Prodia(base_url=BASE_URL))
assert os.environ["PRODIA_TOKEN"].encode() not in data
if "SCENARIO_CA" not in os.environ:
    assert asyncio.run(pickle.loads(data).run(PING)).id

explicit = Prodia(base_url=BASE_URL, token="explicit-token")
try:
    pickle.dumps(explicit)
except InputError as error:
    assert "pickle_token" in str(error)
else:
    raise AssertionError("an explicit token was pickled unasked")
allowed = pickle.loads(pickle.dumps(Prodia(base_url=BASE_URL, token="explicit-token", pickle_token=True)))
assert "explicit-token" not in repr(allowed)
assert client().stats().jobs == 0
