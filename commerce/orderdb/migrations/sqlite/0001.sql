-- Times are milliseconds since 1970. Ids are text, values bytes.

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

-- One row for each order id of which anything is known. digest, refused, client
-- and at repeat the row of contents that counts; digest is null while there is
-- none. evidence is the highest state from RESERVEE on, rejected whether a
-- rejection was seen, state what is shown because of them (record.go).
CREATE TABLE orders (
  number    INTEGER PRIMARY KEY,
  id        TEXT    NOT NULL UNIQUE,
  state     INTEGER NOT NULL,
  evidence  INTEGER NOT NULL,
  rejected  INTEGER NOT NULL,
  digest    BLOB,
  refused   INTEGER NOT NULL,
  client    TEXT    NOT NULL,
  at        INTEGER NOT NULL,
  reason    TEXT    NOT NULL,
  reason_of INTEGER NOT NULL,
  invoice   TEXT    NOT NULL,
  alerts    TEXT    NOT NULL,
  updated   INTEGER NOT NULL,
  changes   INTEGER NOT NULL
);
CREATE INDEX orders_by_state  ON orders (state, number);
CREATE INDEX orders_by_client ON orders (client, number);

-- Every content with which an id was seen: mostly one. refused: it lost the id
-- to another. They are apart from orders, whose rows change often.
CREATE TABLE contents (
  number  INTEGER NOT NULL,
  digest  BLOB    NOT NULL,
  client  TEXT    NOT NULL,
  at      INTEGER NOT NULL,
  refused INTEGER NOT NULL,
  value   BLOB,
  PRIMARY KEY (number, digest)
) WITHOUT ROWID;

CREATE TABLE verdicts (
  number INTEGER PRIMARY KEY,
  value  BLOB NOT NULL
);

-- Topics by small numbers, in the order of the pipeline: entries of one
-- millisecond are shown in it. Topics met later follow.
CREATE TABLE topics (
  id   INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
);
INSERT INTO topics (id, name) VALUES
  (10, 'commandes.ecommerce'), (20, 'commandes.erreurs'), (30, 'stock-mis-a-jour'), (40, 'stock.verifie'),
  (50, 'paiement-accepte'), (60, 'paiement-refuse'), (70, 'factures.ecommerce'), (80, 'commande-validee'),
  (90, 'notifications.clients'), (1000, 'journal.actions');

CREATE TABLE timeline (
  number    INTEGER NOT NULL,
  topic     INTEGER NOT NULL,
  partition INTEGER NOT NULL,
  offset    INTEGER NOT NULL,
  time      INTEGER NOT NULL,
  PRIMARY KEY (number, topic, partition, offset)
) WITHOUT ROWID;

CREATE TABLE positions (
  topic     TEXT    NOT NULL,
  partition INTEGER NOT NULL,
  topic_id  BLOB    NOT NULL,
  next      INTEGER NOT NULL,
  PRIMARY KEY (topic, partition)
) WITHOUT ROWID;

CREATE TABLE products (
  id         TEXT PRIMARY KEY,
  catalogued INTEGER NOT NULL,
  name       TEXT    NOT NULL,
  price      INTEGER,
  available  INTEGER NOT NULL,
  reserved   INTEGER NOT NULL
) WITHOUT ROWID;

-- sent is null until the message is in Kafka. Numbers are never used again.
CREATE TABLE outbox (
  number  INTEGER PRIMARY KEY AUTOINCREMENT,
  shard   INTEGER NOT NULL,
  topic   TEXT    NOT NULL,
  key     BLOB,
  value   BLOB,
  headers BLOB,
  at      INTEGER NOT NULL,
  sent    INTEGER
);
CREATE INDEX outbox_unsent ON outbox (shard, number) WHERE sent IS NULL;
CREATE INDEX outbox_sent ON outbox (sent) WHERE sent IS NOT NULL;

CREATE TABLE keys (
  key         BLOB PRIMARY KEY,
  fingerprint BLOB    NOT NULL,
  at          INTEGER NOT NULL,
  status      INTEGER NOT NULL,
  location    TEXT    NOT NULL,
  body        BLOB
) WITHOUT ROWID;
CREATE INDEX keys_by_at ON keys (at);
