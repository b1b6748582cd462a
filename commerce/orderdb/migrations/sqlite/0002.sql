-- A row for each batch of tracking that brought something of an order, instead
-- of one for each record: part rises with each, last is the time of its last
-- entry, verdict the value of the order's verdict if the batch had it. An entry
-- is 24 bytes, big-endian: time (8), topic (4), partition (4), offset (8); they
-- stand in no order, and one may be told twice.
CREATE TABLE history (
  number  INTEGER NOT NULL,
  part    INTEGER NOT NULL,
  last    INTEGER NOT NULL,
  entries BLOB    NOT NULL,
  verdict BLOB,
  PRIMARY KEY (number, part)
) WITHOUT ROWID;
INSERT INTO history (number, part, last, entries, verdict)
  SELECT l.number, 0, max(l.time), unhex(group_concat(printf('%016x%08x%08x%016x', l.time, l.topic, l.partition, l.offset), '')), v.value
  FROM timeline l LEFT JOIN verdicts v ON v.number = l.number GROUP BY l.number;
DROP TABLE timeline;
DROP TABLE verdicts;
