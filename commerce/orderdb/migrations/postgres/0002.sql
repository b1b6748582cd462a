-- The table is that of SQLite, where it is explained.
CREATE TABLE history (
  number  bigint NOT NULL,
  part    bigint NOT NULL,
  last    bigint NOT NULL,
  entries bytea  NOT NULL,
  verdict bytea,
  PRIMARY KEY (number, part)
);
INSERT INTO history (number, part, last, entries, verdict)
  SELECT l.number, 0, l.last, l.entries, v.value FROM (
    SELECT number, max(time) AS last, string_agg(int8send(time) || int4send(topic) || int4send(partition) || int8send(log_offset), '') AS entries
    FROM timeline GROUP BY number) l
  LEFT JOIN verdicts v ON v.number = l.number;
DROP TABLE timeline;
DROP TABLE verdicts;
