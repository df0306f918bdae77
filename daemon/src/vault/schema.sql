-- Version 1. Times are Unix seconds. What belongs together commits together.
CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE conversation(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  title TEXT NOT NULL,
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL,
  seed INTEGER NOT NULL,
  store INTEGER NOT NULL DEFAULT 1,
  learn INTEGER NOT NULL DEFAULT 1,
  use_adapter INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE TABLE message(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  conversation INTEGER NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
  role TEXT NOT NULL,
  text TEXT NOT NULL,
  created INTEGER NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0,
  interrupted INTEGER NOT NULL DEFAULT 0,
  marks BLOB NOT NULL DEFAULT x'',
  tokens INTEGER, open INTEGER, side INTEGER, changed INTEGER, transmissions INTEGER,
  cloud_us INTEGER, device_us INTEGER, net_us INTEGER, bytes_up INTEGER, bytes_down INTEGER,
  adapter INTEGER, reason TEXT
) STRICT;
CREATE INDEX message_of ON message(conversation, id);
-- Conversation 0 is the one not started yet, so there is no foreign key.
CREATE TABLE draft(conversation INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
-- Where lessons come from: an imported conversation, or one of the chat's.
CREATE TABLE source(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  import TEXT,
  conversation INTEGER UNIQUE REFERENCES conversation(id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  created INTEGER NOT NULL,
  lines TEXT NOT NULL
) STRICT;
CREATE INDEX source_import ON source(import);
-- One turn; `part` is decided once, for ever: 0 train, 1 early stop, 2 held out.
CREATE TABLE lesson(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  source INTEGER NOT NULL REFERENCES source(id) ON DELETE CASCADE,
  turn INTEGER NOT NULL,
  own INTEGER NOT NULL,
  weight REAL NOT NULL,
  part INTEGER NOT NULL,
  -- The chat's message it is.
  message INTEGER REFERENCES message(id) ON DELETE SET NULL,
  UNIQUE(source, turn)
) STRICT;
-- Cached states, bound to the backbone they come from.
CREATE TABLE state(
  lesson INTEGER NOT NULL REFERENCES lesson(id) ON DELETE CASCADE,
  model TEXT NOT NULL,
  targets BLOB NOT NULL,
  states BLOB NOT NULL,
  PRIMARY KEY(lesson, model)
) STRICT;
-- States of an answer that chat shipped, until they become those of its lesson.
CREATE TABLE shipped(
  message INTEGER PRIMARY KEY REFERENCES message(id) ON DELETE CASCADE,
  model TEXT NOT NULL,
  targets BLOB NOT NULL,
  states BLOB NOT NULL
) STRICT;
CREATE TABLE adapter(
  version INTEGER PRIMARY KEY AUTOINCREMENT,
  parent INTEGER NOT NULL,
  created INTEGER NOT NULL,
  variant TEXT NOT NULL,
  model TEXT NOT NULL,
  bytes BLOB NOT NULL,
  sha256 BLOB NOT NULL,
  lesson_tokens INTEGER NOT NULL,
  -- Lessons up to this one belong to the version; rollback hides later ones.
  watermark INTEGER NOT NULL,
  numbers TEXT NOT NULL,
  note TEXT NOT NULL
) STRICT;
-- Every decision about what is in use, with its numbers.
CREATE TABLE decision(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  created INTEGER NOT NULL,
  version INTEGER NOT NULL,
  against INTEGER NOT NULL,
  verdict TEXT NOT NULL,
  decided_by TEXT NOT NULL,
  numbers TEXT NOT NULL
) STRICT;
CREATE TABLE checkpoint(job BLOB PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
-- One row: how many commits there were, chained by hash, so that an old copy put back can be noticed.
CREATE TABLE chain(one INTEGER PRIMARY KEY CHECK(one = 1), counter INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
INSERT INTO chain VALUES(1, 0, zeroblob(32));
