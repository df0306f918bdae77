-- Version 2. Hashes of what was said, so that nothing is learned twice; empty where version 1 took it in.
-- Of every beginning of the conversation, one behind the other, and of the whole.
ALTER TABLE source ADD COLUMN beginnings BLOB NOT NULL DEFAULT x'';
ALTER TABLE source ADD COLUMN whole BLOB NOT NULL DEFAULT x'';
-- Of the message with the one before it.
ALTER TABLE lesson ADD COLUMN content BLOB NOT NULL DEFAULT x'';
CREATE INDEX source_whole ON source(whole);
CREATE INDEX lesson_content ON lesson(content);
-- What a training was begun on, so that it can be ended although more came.
ALTER TABLE checkpoint ADD COLUMN watermark INTEGER NOT NULL DEFAULT 0;
ALTER TABLE checkpoint ADD COLUMN seed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE checkpoint ADD COLUMN variant TEXT NOT NULL DEFAULT '';
-- Bytes of states that were dropped to keep the cache below its limit.
ALTER TABLE state ADD COLUMN evicted INTEGER NOT NULL DEFAULT 0;
-- What the person thinks of an answer: '' (nothing said), 'good', 'bad' or 'edited' (the text is theirs then).
ALTER TABLE message ADD COLUMN rating TEXT NOT NULL DEFAULT '';
