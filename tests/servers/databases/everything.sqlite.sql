PRAGMA user_version = 7;
PRAGMA application_id = -42;
CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, email TEXT UNIQUE, avatar BLOB,
  upper_name TEXT GENERATED ALWAYS AS (upper(name)) STORED, lower_name TEXT AS (lower(name)));
CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users (id), total REAL, note TEXT
  CHECK (note <> 'x; y')); -- behind
CREATE TABLE page_views (path, "a ""b; (c" ANY);
CREATE TABLE settings (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE typed (id INT PRIMARY KEY, n REAL) STRICT;
CREATE TABLE empty_one (id INTEGER PRIMARY KEY);
INSERT INTO users (name, email, avatar) VALUES
  ('Zoë 🦊', 'zoe@example.com', x'00275C0A0D1A22FF'), ('O''Hara', NULL, NULL),
  ('back\slash; DROP' || char(10) || 'two', 'b@example.com', x''), (CAST(x'61ff00' AS TEXT), NULL, zeroblob(70000));
DELETE FROM users WHERE id = 2;
INSERT INTO users (name) VALUES ('last');
INSERT INTO orders SELECT value, 1, value / 3.0, 'line one
line two; -- no comment' FROM generate_series(1, 3000);
INSERT INTO page_views (rowid, path) VALUES (7, 'a'), (9, 1), (11, 1.0), (12, 9e999), (13, -9e999), (14, 5e-324), (15, x'');
INSERT INTO settings VALUES ('a', 9223372036854775807), ('b', 1e100), ('c', NULL);
INSERT INTO typed VALUES (1, 0.1);
CREATE INDEX orders_user ON orders (user_id) WHERE total > 5;
CREATE VIEW totals AS SELECT user_id, sum(total) AS total FROM orders GROUP BY user_id -- why
;
CREATE TRIGGER no_negative AFTER INSERT ON orders WHEN NEW.total < 0 BEGIN
  UPDATE orders SET total = CASE WHEN 1 THEN 0 END WHERE id = NEW.id;
  DELETE FROM page_views WHERE path = '; END;';
END;
CREATE VIRTUAL TABLE notes USING fts5(note, content='orders', content_rowid='id');
INSERT INTO notes (notes) VALUES ('rebuild');
CREATE VIRTUAL TABLE pages USING fts5(title, body);
INSERT INTO pages VALUES ('Fox', 'the quick brown fox'), ('Dog', 'the lazy dog');
CREATE VIRTUAL TABLE areas USING rtree(id, x0, x1);
INSERT INTO areas VALUES (1, 0.5, 1.5);
