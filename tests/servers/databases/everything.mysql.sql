-- Everything that a dump of Oracle's MySQL may hold, for a schema named `everything`.
SET NAMES utf8mb4;
SET time_zone = '+00:00';
SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
SET foreign_key_checks = 0;
SET cte_max_recursion_depth = 30000;

CREATE TABLE numbers (n INT PRIMARY KEY);
INSERT INTO numbers WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < 20000) SELECT n FROM s;

CREATE TABLE every_type (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  tiny TINYINT, small SMALLINT UNSIGNED ZEROFILL, medium MEDIUMINT, plain INT, big BIGINT, flags BIT(13), truth BOOLEAN,
  exact DECIMAL(65,30), twofold DOUBLE,
  day DATE, moment DATETIME(6), stamp TIMESTAMP(3) NULL, clock TIME(6), vintage YEAR,
  fixed CHAR(7), varied VARCHAR(300), folded VARCHAR(60) CHARACTER SET latin1,
  exactly VARCHAR(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, wide VARCHAR(60) CHARACTER SET utf16,
  older VARCHAR(60) CHARACTER SET utf8mb3 COLLATE utf8mb3_unicode_ci,
  newer VARCHAR(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_as_cs,
  bytes BINARY(5), varbytes VARBINARY(40), tinyb TINYBLOB, blob_ BLOB, mediumb MEDIUMBLOB, longb LONGBLOB,
  tinyt TINYTEXT, text_ TEXT, mediumt MEDIUMTEXT, longt LONGTEXT,
  choice ENUM('a', 'b''c', 'd,e', ''), several SET('x', 'y', 'z'), doc JSON, spot POINT, shape GEOMETRY,
  embedding VECTOR(4), hidden INT INVISIBLE DEFAULT 7, computed VARCHAR(40) DEFAULT (concat('d', 1 + 1)),
  twice INT AS (plain * 2) VIRTUAL, thrice BIGINT AS (plain * 3) STORED,
  said VARCHAR(40) AS (json_unquote(json_extract(doc, '$.b'))) VIRTUAL,
  PRIMARY KEY (id), UNIQUE KEY (small), UNIQUE KEY several_columns (medium, plain), KEY (varied(10)),
  KEY downwards (big DESC, tiny), KEY on_virtual (twice), KEY on_stored (thrice), KEY on_json (said),
  KEY of_function ((plain + 1), (lower(varied)) DESC), KEY of_array ((cast(doc -> '$.n' AS UNSIGNED ARRAY))),
  FULLTEXT KEY words (text_), FULLTEXT KEY more_words (varied, text_) WITH PARSER ngram,
  KEY unseen (plain) INVISIBLE, KEY commented (tiny) COMMENT 'KEY `x` (`y`),\n  FULLTEXT KEY; --',
  CONSTRAINT positive CHECK (plain > -100000), CHECK (tiny < 127), CONSTRAINT idle CHECK (big <> 3) NOT ENFORCED
) COMMENT 'it''s; a \\ comment\n); -- of two lines';
INSERT INTO every_type SET
  tiny = -128, small = 0, medium = -8388608, plain = -2147, big = -9223372036854775808, flags = b'1010101010101',
  truth = TRUE, exact = -99999999999999999999999999999999999.999999999999999999999999999999,
  twofold = 1.7976931348623157e308, day = '0000-00-00', moment = '9999-12-31 23:59:59.999999',
  stamp = '1970-01-01 00:00:01.001', clock = '-838:59:59.000000', vintage = 1901, fixed = 'pad  ',
  varied = 'Zoë 🦊 `tick` "q" ''', folded = 'ÿé', exactly = 'Ä', wide = '日🦊', older = 'ß', newer = 'ä',
  bytes = x'00FF1A275C', varbytes = x'000A0D1A22275C5C',
  tinyb = '', blob_ = x'00', mediumb = x'FF', longb = repeat(x'00FF', 70000), tinyt = '', text_ = 'lorem ipsum',
  mediumt = ');\nINSERT INTO `x` VALUES\n(1);\n', longt = '-- not a comment',
  choice = 'd,e', several = 'x,z', doc = '{"a": ["\\u0001", "\\"", 1.50], "b": "said; it''s", "n": [1, 22]}',
  spot = ST_SRID(point(1.5, -1e-300), 3857), shape = ST_GeomFromText('POLYGON((0 0, 1 0, 1 1, 0 0))', 4326),
  embedding = string_to_vector('[1, -2.5, 3e-38, 0.1]'), hidden = 8;
INSERT INTO every_type (id, twofold, exact, day, moment, choice, flags) VALUES
  (0, 2.2250738585072014e-308, 0.000000000000000000000000000001, '2024-00-00', '0000-00-00', '', b'0'),
  (18446744073709551614, 0.1, NULL, NULL, NULL, NULL, NULL), (77, 1e-320, NULL, '1000-01-01', NULL, 0, b'1');
CREATE TABLE every_byte (n INT PRIMARY KEY, b BLOB, t TEXT CHARACTER SET latin1, c BINARY(1));
INSERT INTO every_byte
SELECT n - 1, repeat(char(n - 1 USING binary), 3), convert(char(n - 1 USING latin1) USING latin1), char(n - 1) FROM numbers
WHERE n <= 256;

-- Keys that may wait, and those that may not; and none.
CREATE TABLE many (id INT PRIMARY KEY, v INT, t VARCHAR(200), KEY (v), UNIQUE KEY (t), KEY backwards (v DESC, t(5)));
INSERT INTO many SELECT n, n % 1000, concat('row ', n, repeat(' and on', 15)) FROM numbers;
CREATE TABLE no_key_at_all (a INT, b TEXT);
INSERT INTO no_key_at_all SELECT n % 3, '),(' FROM numbers WHERE n <= 20;
CREATE TABLE odd_counter (
  code VARCHAR(9) NOT NULL PRIMARY KEY, n INT NOT NULL AUTO_INCREMENT, other INT, KEY (other), UNIQUE KEY (n)
) AUTO_INCREMENT = 900;
INSERT INTO odd_counter VALUES ('z', 5, 1), ('y', 6, 2);
CREATE TABLE numbered_words (FTS_DOC_ID BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, t TEXT, FULLTEXT KEY (t));
INSERT INTO numbered_words VALUES (1, 'one'), (2, 'two');
CREATE TABLE places (id INT PRIMARY KEY, spot POINT NOT NULL SRID 4326, SPATIAL KEY (spot), v INT, KEY (v));
INSERT INTO places SELECT n, ST_SRID(point(n, -n), 4326), n FROM numbers WHERE n <= 40;

-- Columns that came and went without the table being written.
CREATE TABLE altered (id INT PRIMARY KEY, a INT, gone INT);
INSERT INTO altered VALUES (1, 1, 1), (2, 2, 2);
ALTER TABLE altered ADD COLUMN later VARCHAR(20) DEFAULT 'it''s; new', ALGORITHM=INSTANT;
INSERT INTO altered VALUES (3, 3, 3, 'three');
ALTER TABLE altered ADD COLUMN front INT NOT NULL DEFAULT 5 FIRST, ALGORITHM=INSTANT;
ALTER TABLE altered DROP COLUMN gone, ALGORITHM=INSTANT;
INSERT INTO altered VALUES (6, 4, 4, NULL);

-- Engines, formats and partitions.
CREATE TABLE plain_old (grp INT, n INT NOT NULL AUTO_INCREMENT, t TEXT, PRIMARY KEY (grp, n), FULLTEXT KEY (t))
ENGINE=MyISAM;
INSERT INTO plain_old (grp, t) SELECT n % 3, concat('word', n) FROM numbers WHERE n <= 30;
CREATE TABLE remembered (k INT PRIMARY KEY) ENGINE=MEMORY;
INSERT INTO remembered VALUES (1), (2);
CREATE TABLE pressed (id INT PRIMARY KEY, t TEXT) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8 STATS_PERSISTENT=0;
INSERT INTO pressed VALUES (1, repeat('x', 5000));
CREATE TABLE by_range (id INT, y DATE NOT NULL, v INT, PRIMARY KEY (id, y), KEY (v))
PARTITION BY RANGE (year(y)) SUBPARTITION BY HASH (id) SUBPARTITIONS 2
(PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE COMMENT 'the; rest');
INSERT INTO by_range SELECT n, '1990-01-01' + INTERVAL n YEAR, n FROM numbers WHERE n <= 40;
CREATE TABLE by_key (id INT NOT NULL, UNIQUE KEY (id)) PARTITION BY KEY () PARTITIONS 2;
INSERT INTO by_key SELECT n FROM numbers WHERE n <= 40;
CREATE TABLE by_list (id INT, c VARCHAR(5))
PARTITION BY LIST COLUMNS (c) (PARTITION a VALUES IN ('x;\n', 'b'), PARTITION d VALUES IN ('q', NULL));
INSERT INTO by_list VALUES (1, 'x;\n'), (2, 'q');

-- Foreign keys: composite, to their own table, in a circle, to a key that is not the primary one.
CREATE TABLE a_child (
  id INT PRIMARY KEY, x INT, y INT, boss INT, other INT, code VARCHAR(10), KEY (other),
  CONSTRAINT pair FOREIGN KEY (x, y) REFERENCES z_parent (x, y) ON DELETE SET NULL ON UPDATE CASCADE,
  CONSTRAINT boss FOREIGN KEY (boss) REFERENCES a_child (id),
  CONSTRAINT round FOREIGN KEY (other) REFERENCES z_parent (id),
  CONSTRAINT by_code FOREIGN KEY (code) REFERENCES z_parent (code)
);
CREATE TABLE z_parent (
  id INT PRIMARY KEY, x INT, y INT, first_child INT, code VARCHAR(10), UNIQUE KEY (code), UNIQUE KEY (x, y),
  CONSTRAINT `round``trip` FOREIGN KEY (first_child) REFERENCES a_child (id)
);
INSERT INTO z_parent SELECT n, n % 3, n % 4, n, concat('C', n) FROM numbers WHERE n <= 12;
INSERT INTO a_child
SELECT n, if(n % 2, n % 3, NULL), if(n % 2, n % 4, 99), nullif(n - 1, 0), if(n % 4, n, NULL), concat('C', n)
FROM numbers WHERE n <= 12;

-- Collations: as the schema has it, as the table has it, copied.
CREATE TABLE inherits (a VARCHAR(9) PRIMARY KEY, b TEXT, c ENUM('x', 'y'));
INSERT INTO inherits VALUES ('a', 'b', 'x');
CREATE TABLE says (a VARCHAR(9), b VARCHAR(9) COLLATE utf8mb4_unicode_ci, c VARCHAR(9) CHARACTER SET utf8mb4)
DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
INSERT INTO says VALUES ('a', 'b', 'c');
CREATE TABLE copied SELECT * FROM inherits;
CREATE TABLE likened LIKE says;

-- Names.
CREATE TABLE `select` (
  `from` INT PRIMARY KEY, `a``b` INT, `c'd` INT, `e"f` INT, `g.h` INT, `i%j` INT, `☂ñ日` INT, `k
l,(` INT, t TEXT DEFAULT ('\\;\n'''),
  KEY `m``n,
  KEY (` (`a``b`, `k
l,(`), FULLTEXT KEY `nothing` (t), CONSTRAINT `o``p
q` FOREIGN KEY (`g.h`) REFERENCES `select` (`from`)
);
INSERT INTO `select` VALUES (1, 2, 3, 4, NULL, 6, 7, 8, '%s %d %'), (2, 2, 3, 4, 1, 6, 7, 8, '\0\Z\\');
CREATE TABLE `back``tick` (id INT PRIMARY KEY);
CREATE TABLE `quo'te"` (id INT PRIMARY KEY);
CREATE TABLE `dot.ted` (id INT PRIMARY KEY);
CREATE TABLE `100%s` (id INT PRIMARY KEY, v INT, KEY (v));
CREATE TABLE `ΔЖ日` (`ñ` INT PRIMARY KEY);
CREATE TABLE Orders (id INT PRIMARY KEY);
CREATE TABLE orders (id INT PRIMARY KEY, c INT, KEY (c));
INSERT INTO `back``tick` VALUES (1);
INSERT INTO `quo'te"` VALUES (1);
INSERT INTO `dot.ted` VALUES (1);
INSERT INTO `100%s` VALUES (1, 1);
INSERT INTO `ΔЖ日` VALUES (1);
INSERT INTO orders VALUES (1, 1), (2, 4);

-- Code.
DELIMITER ;;
CREATE FUNCTION doubled(n INT) RETURNS INT DETERMINISTIC RETURN n * 2;;
CREATE FUNCTION `odd ``name` (s TEXT CHARSET latin1) RETURNS TEXT CHARSET utf8mb4 DETERMINISTIC
COMMENT 'it''s; \\' RETURN concat(s, ';;', "\n");;
CREATE PROCEDURE tidy(IN days INT) SQL SECURITY INVOKER
BEGIN
  DELETE FROM no_key_at_all WHERE b = 'INSERT INTO `x` VALUES
(1);' OR b = '\';;' OR b = ';;';
INSERT INTO `no_key_at_all` VALUES
(1, 'x');
END;;
SET sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES';;
CREATE PROCEDURE literally() BEGIN SELECT 'C:\', "id" FROM "orders"; SELECT 'x\'; END;;
SET sql_mode = 'STRICT_TRANS_TABLES';;
SET time_zone = 'SYSTEM';;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DO BEGIN DELETE FROM orders; END;;
CREATE EVENT `ENABLE DO` ON SCHEDULE AT '2036-01-01' ON COMPLETION PRESERVE ENABLE COMMENT 'ENABLE DO'
DO DELETE FROM orders WHERE c = ' ENABLE DO ';;
CREATE EVENT asleep ON SCHEDULE EVERY 3 HOUR STARTS '2036-01-01' ENDS '2037-01-01' DISABLE DO DELETE FROM orders;;
CREATE EVENT elsewhere ON SCHEDULE EVERY 3 HOUR STARTS '2036-01-01' DISABLE ON REPLICA DO DELETE FROM orders;;
CREATE TRIGGER third AFTER INSERT ON orders FOR EACH ROW SET @x = ';;';;
CREATE TRIGGER first AFTER INSERT ON orders FOR EACH ROW PRECEDES third BEGIN SET @y = 1; SET @z = 'a;;
b'; END;;
CREATE TRIGGER second AFTER INSERT ON orders FOR EACH ROW FOLLOWS first SET @y = 2;;
create trigger everything.never_negative before insert
on everything.inherits for each row set NEW.b = coalesce(NEW.b, '');;
CREATE PROCEDURE reach() BEGIN DELETE FROM everything.orders; END;;
DELIMITER ;
CREATE ROLE IF NOT EXISTS clerk;
CREATE DEFINER=clerk SQL SECURITY DEFINER VIEW of_a_role AS SELECT 1 AS one;
CREATE VIEW b_first AS SELECT doubled(c) AS d, count(*) AS n FROM orders GROUP BY c;
CREATE SQL SECURITY INVOKER VIEW a_second AS SELECT d FROM b_first WHERE d > 1;
CREATE ALGORITHM=TEMPTABLE VIEW `view ``odd` AS SELECT 'a;\nb' AS `x;y`, `k
l,(` FROM `select`;
CREATE VIEW told AS
WITH ranked AS (SELECT id, rank() OVER (ORDER BY c) AS r FROM orders) SELECT id, r FROM ranked WHERE r < 9;
CREATE VIEW unpacked AS SELECT j.n FROM every_type e, json_table(e.doc, '$.n[*]' COLUMNS (n INT PATH '$')) j;
