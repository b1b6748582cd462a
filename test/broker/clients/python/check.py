"""confluent-kafka (librdkafka): produce, a group that rebalances, transactions."""

import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

addr, name = sys.argv[1], sys.argv[2] + "-python"
patience = 60


def produce(topic, values):
    failed = []
    p = Producer({"bootstrap.servers": addr, "enable.idempotence": True, "compression.type": "lz4"})
    for v in values:
        p.produce(topic, v, key=v, on_delivery=lambda err, _: failed.append(err) if err else None)
        p.poll(0)
    assert p.flush(patience) == 0 and not failed, failed[:3]


def member(strategy):
    c = Consumer({
        "bootstrap.servers": addr, "group.id": name, "auto.offset.reset": "earliest", "enable.auto.commit": False,
        "partition.assignment.strategy": strategy, "session.timeout.ms": 6000, "isolation.level": "read_committed",
    })
    c.subscribe([name])
    return c


def consume(members, want, until=lambda: True):
    seen, end = set(), time.time() + patience
    while not (want <= seen and until()):
        assert time.time() < end, f"{len(seen & want)} of {len(want)} values"
        for c in members:
            for m in c.consume(100, 0.05):
                assert not m.error(), m.error()
                seen.add(m.value().decode())
    return seen


admin = AdminClient({"bootstrap.servers": addr})
for f in admin.create_topics([NewTopic(name, 4, 1)]).values():
    f.result(patience)

for strategy in ("range", "cooperative-sticky"):
    first = {f"{strategy}-{n}" for n in range(1000)}
    produce(name, sorted(first))
    a = member(strategy)
    consume([a], first)
    a.commit(asynchronous=False)
    b = member(strategy)
    consume([a, b], set(), lambda: len(a.assignment()) == 2 and len(b.assignment()) == 2)
    second = {f"{strategy}-again-{n}" for n in range(500)}
    produce(name, sorted(second))
    consume([a, b], second)
    a.commit(asynchronous=False), b.commit(asynchronous=False)
    b.close()
    consume([a], set(), lambda: len(a.assignment()) == 4)
    committed = a.committed([TopicPartition(name, p) for p in range(4)], timeout=patience)
    a.close()
    assert sum(c.offset for c in committed) >= 1500, committed

# Transactions, with the consumed offsets in them.
p = Producer({"bootstrap.servers": addr, "transactional.id": name})
p.init_transactions(patience)
for how in ("aborted", "committed"):
    p.begin_transaction()
    for n in range(100):
        p.produce(name, f"txn-{how}-{n}")
    c = member("range")
    p.send_offsets_to_transaction([TopicPartition(name, 0, 7)], c.consumer_group_metadata(), patience)
    c.close()
    p.commit_transaction(patience) if how == "committed" else p.abort_transaction(patience)
c = Consumer({"bootstrap.servers": addr, "group.id": name + "-reader", "auto.offset.reset": "earliest", "isolation.level": "read_committed"})
c.subscribe([name])
seen = consume([c], {f"txn-committed-{n}" for n in range(100)} | {f"range-{n}" for n in range(1000)})
c.close()
assert not any(v.startswith("txn-aborted") for v in seen), "aborted records are seen"
print("ok")
