-- Everything that a dump may hold, for a schema named `everything`.
SET NAMES utf8mb4;
SET time_zone = '+00:00';
SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
SET foreign_key_checks = 0;

CREATE TABLE every_type (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  tiny TINYINT, small SMALLINT UNSIGNED ZEROFILL, medium MEDIUMINT, plain INT, big BIGINT, flags BIT(13), truth BOOLEAN,
  exact DECIMAL(65,30), single FLOAT, twofold DOUBLE,
  day DATE, moment DATETIME(6), stamp TIMESTAMP(3) NULL, clock TIME(6), vintage YEAR,
  fixed CHAR(7), varied VARCHAR(300), folded VARCHAR(60) CHARACTER SET latin1, exactly VARCHAR(60) COLLATE utf8mb4_bin,
  bytes BINARY(5), varbytes VARBINARY(40), tinyb TINYBLOB, blob_ BLOB, mediumb MEDIUMBLOB, longb LONGBLOB,
  tinyt TINYTEXT, text_ TEXT, mediumt MEDIUMTEXT, longt LONGTEXT, squeezed TEXT COMPRESSED,
  choice ENUM('a', 'b''c', 'd,e', ''), several SET('x', 'y', 'z'), doc JSON, spot POINT, shape GEOMETRY,
  ident UUID, address INET6, old_address INET4, hidden INT INVISIBLE DEFAULT 7,
  twice INT AS (plain * 2) VIRTUAL, thrice BIGINT AS (plain * 3) STORED,
  PRIMARY KEY (id), UNIQUE KEY (small), UNIQUE KEY several_columns (medium, plain), KEY (varied(10)),
  KEY downwards (big DESC, tiny), KEY on_virtual (twice), KEY on_stored (thrice),
  FULLTEXT KEY words (text_), FULLTEXT KEY more_words (varied, text_), KEY ignored_one (plain) IGNORED,
  KEY commented (tiny) COMMENT 'KEY `x` (`y`),\n  FULLTEXT KEY; --',
  CONSTRAINT positive CHECK (plain > -100000), CHECK (tiny < 127)
) COMMENT 'it''s; a \\ comment\n); -- of two lines';
INSERT INTO every_type SET
  tiny = -128, small = 0, medium = -8388608, plain = -2147, big = -9223372036854775808, flags = b'1010101010101',
  truth = TRUE, exact = -99999999999999999999999999999999999.999999999999999999999999999999,
  single = -3.402823466e38, twofold = 1.7976931348623157e308, day = '0000-00-00', moment = '9999-12-31 23:59:59.999999',
  stamp = '1970-01-01 00:00:01.001', clock = '-838:59:59.999999', vintage = 1901, fixed = 'pad  ',
  varied = 'Zoë 🦊 `tick` "q" ''', folded = 'ÿé', exactly = 'Ä', bytes = x'00FF1A275C', varbytes = x'000A0D1A22275C5C',
  tinyb = '', blob_ = x'00', mediumb = x'FF', longb = repeat(x'00FF', 70000), tinyt = '', text_ = 'lorem ipsum',
  mediumt = ');\nINSERT INTO `x` VALUES\n(1);\n', longt = '-- not a comment', squeezed = repeat('sq', 999),
  choice = 'd,e', several = 'x,z', doc = '{"a": ["\\u0000", "\\"", 1.50]}', spot = point(1.5, -1e-300),
  shape = st_geomfromtext('POLYGON((0 0, 1 0, 1 1, 0 0))'), ident = uuid(), address = '::ffff:1.2.3.4',
  old_address = '255.0.0.1', hidden = 8;
INSERT INTO every_type (id, twofold, single, exact, day, moment, choice, flags) VALUES
  (0, 2.2250738585072014e-308, 1.17549e-38, 0.000000000000000000000000000001, '2024-00-00', '0000-00-00', '', b'0'),
  (18446744073709551614, 0.1, -0.0, NULL, NULL, NULL, NULL, NULL), (77, NULL, NULL, NULL, '1000-01-01', NULL, 0, b'1');
CREATE TABLE every_byte (
  n INT PRIMARY KEY, b BLOB, t TEXT CHARACTER SET latin1, c CHAR(1) CHARACTER SET binary
);
INSERT INTO every_byte
SELECT seq, repeat(char(seq USING binary), 3), convert(char(seq) USING latin1), char(seq) FROM seq_0_to_255;

-- Keys that may wait, and those that may not.
CREATE TABLE many (id INT PRIMARY KEY, v INT, t VARCHAR(200), KEY (v), UNIQUE KEY (t), KEY backwards (v DESC, t(5)));
INSERT INTO many SELECT seq, seq % 1000, concat('row ', seq, repeat(' and on', 15)) FROM seq_1_to_20000;
CREATE TABLE no_key_at_all (a INT, b TEXT);
INSERT INTO no_key_at_all SELECT seq % 3, '),(' FROM seq_1_to_20;
CREATE TABLE promoted (a INT NOT NULL, b INT NOT NULL, c INT, KEY (c), UNIQUE KEY (b, a), UNIQUE KEY (c, b));
INSERT INTO promoted SELECT seq, seq % 5, seq FROM seq_1_to_50;
CREATE TABLE only_plain_keys (a INT, b INT, KEY (b), KEY (a, b));
INSERT INTO only_plain_keys SELECT seq % 4, seq FROM seq_1_to_50;
CREATE TABLE odd_counter (
  code VARCHAR(9) NOT NULL PRIMARY KEY, n INT NOT NULL AUTO_INCREMENT, other INT, KEY (other), UNIQUE KEY (n)
) AUTO_INCREMENT = 900;
INSERT INTO odd_counter VALUES ('z', 5, 1), ('y', 6, 2);
CREATE TABLE counted (id INT AUTO_INCREMENT PRIMARY KEY, v INT, KEY (v)) AUTO_INCREMENT = 5000;
INSERT INTO counted VALUES (0, 1), (3, 3);
CREATE TABLE hashed (id INT PRIMARY KEY, v INT, t TEXT, KEY (v), UNIQUE KEY (t));
INSERT INTO hashed VALUES (1, 1, 'one'), (2, 1, NULL), (3, 1, NULL);
CREATE TABLE numbered_words (FTS_DOC_ID BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, t TEXT, FULLTEXT KEY (t));
INSERT INTO numbered_words VALUES (1, 'one'), (2, 'two');
CREATE TABLE places (id INT PRIMARY KEY, spot POINT NOT NULL, SPATIAL KEY (spot), v INT, KEY (v));
INSERT INTO places SELECT seq, point(seq, -seq), seq FROM seq_1_to_40;

-- Engines and partitions.
CREATE TABLE plain_old (
  grp INT, n INT NOT NULL AUTO_INCREMENT, t TEXT, place POINT NOT NULL,
  PRIMARY KEY (grp, n), FULLTEXT KEY (t), SPATIAL KEY (place)
) ENGINE=MyISAM;
INSERT INTO plain_old (grp, t, place) SELECT seq % 3, concat('word', seq), point(seq, seq) FROM seq_1_to_30;
CREATE TABLE aria_one (id INT PRIMARY KEY, v VARCHAR(20), KEY (v)) ENGINE=Aria TRANSACTIONAL=1;
INSERT INTO aria_one SELECT seq, concat('v', seq) FROM seq_1_to_30;
CREATE TABLE remembered (k INT PRIMARY KEY) ENGINE=MEMORY;
INSERT INTO remembered VALUES (1), (2);
CREATE TABLE by_range (id INT, y DATE NOT NULL, v INT, PRIMARY KEY (id, y), KEY (v))
PARTITION BY RANGE (year(y)) SUBPARTITION BY HASH (id) SUBPARTITIONS 2
(PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE);
INSERT INTO by_range SELECT seq, '1990-01-01' + INTERVAL seq YEAR, seq FROM seq_1_to_40;
CREATE TABLE by_hash (id INT PRIMARY KEY, v INT, KEY (v)) PARTITION BY HASH (id) PARTITIONS 3;
INSERT INTO by_hash SELECT seq, seq FROM seq_1_to_40;
CREATE TABLE by_key (id INT NOT NULL, UNIQUE KEY (id)) PARTITION BY KEY () PARTITIONS 2;
INSERT INTO by_key SELECT seq FROM seq_1_to_40;
CREATE TABLE by_list (id INT, c VARCHAR(5))
PARTITION BY LIST COLUMNS (c) (PARTITION a VALUES IN ('x;\n', 'b'), PARTITION d DEFAULT);
INSERT INTO by_list VALUES (1, 'x;\n'), (2, 'q');

-- Time.
CREATE TABLE versioned (id INT PRIMARY KEY, v INT, t TEXT, KEY (v), FULLTEXT KEY (t)) WITH SYSTEM VERSIONING;
INSERT INTO versioned SELECT seq, seq, 'text' FROM seq_1_to_20;
UPDATE versioned SET v = v + 1 WHERE id < 5;
CREATE TABLE versioned_openly (
  id INT PRIMARY KEY, v INT,
  s TIMESTAMP(6) GENERATED ALWAYS AS ROW START INVISIBLE, e TIMESTAMP(6) GENERATED ALWAYS AS ROW END INVISIBLE,
  PERIOD FOR SYSTEM_TIME (s, e), KEY (v)
) WITH SYSTEM VERSIONING PARTITION BY SYSTEM_TIME (PARTITION h HISTORY, PARTITION c CURRENT);
INSERT INTO versioned_openly SELECT seq, seq FROM seq_1_to_20;
CREATE TABLE periods (
  n INT PRIMARY KEY, id INT, a DATE, b DATE, PERIOD FOR p (a, b), KEY (id), UNIQUE KEY (id, p WITHOUT OVERLAPS)
);
INSERT INTO periods VALUES (1, 1, '2020-01-01', '2020-02-01'), (2, 1, '2020-02-01', '2020-03-01');

-- Sequences.
CREATE SEQUENCE invoice_numbers START WITH 7 INCREMENT BY 3 MAXVALUE 100000 CACHE 10;
DO nextval(invoice_numbers);
CREATE SEQUENCE `odd ``seq;` START WITH -5 INCREMENT BY -1 MINVALUE -100 MAXVALUE -1 NOCACHE CYCLE;
DO nextval(`odd ``seq;`);
CREATE TABLE numbered (
  id INT NOT NULL DEFAULT nextval(invoice_numbers) PRIMARY KEY, at DATETIME DEFAULT (now() + INTERVAL 1 DAY)
);
INSERT INTO numbered VALUES (1, '2026-01-01');

-- Foreign keys: composite, to their own table, in a circle, to a key that is not the primary one.
CREATE TABLE a_child (
  id INT PRIMARY KEY, x INT, y INT, boss INT, other INT, code VARCHAR(10), KEY (other),
  CONSTRAINT pair FOREIGN KEY (x, y) REFERENCES z_parent (x, y) ON DELETE SET NULL ON UPDATE CASCADE,
  CONSTRAINT boss FOREIGN KEY (boss) REFERENCES a_child (id),
  CONSTRAINT round FOREIGN KEY (other) REFERENCES z_parent (id),
  CONSTRAINT by_code FOREIGN KEY (code) REFERENCES z_parent (code)
);
CREATE TABLE z_parent (
  id INT PRIMARY KEY, x INT, y INT, first_child INT, code VARCHAR(10), UNIQUE KEY (code), KEY (x, y),
  CONSTRAINT `round``trip` FOREIGN KEY (first_child) REFERENCES a_child (id)
);
INSERT INTO z_parent SELECT seq, seq % 3, seq % 4, seq, concat('C', seq) FROM seq_1_to_12;
INSERT INTO a_child
SELECT seq, if(seq % 2, seq % 3, NULL), if(seq % 2, seq % 4, 99), nullif(seq - 1, 0), if(seq % 4, seq, NULL),
  concat('c', seq) FROM seq_1_to_12;

-- Names.
CREATE TABLE `select` (
  `from` INT PRIMARY KEY, `a``b` INT, `c'd` INT, `e"f` INT, `g.h` INT, `i%j` INT, `☂ñ日` INT, `k
l,(` INT, t TEXT DEFAULT '\\;\n''',
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
CREATE TABLE `new
line;` (id INT PRIMARY KEY, p INT, CONSTRAINT percent FOREIGN KEY (p) REFERENCES `100%s` (id));
CREATE TABLE `ΔЖ日` (`ñ` INT PRIMARY KEY);
CREATE TABLE Orders (id INT PRIMARY KEY);
CREATE TABLE orders (id INT PRIMARY KEY, c INT, KEY (c));
INSERT INTO `back``tick` VALUES (1);
INSERT INTO `quo'te"` VALUES (1);
INSERT INTO `dot.ted` VALUES (1);
INSERT INTO `100%s` VALUES (1, 1);
INSERT INTO `new
line;` VALUES (1, 1);
INSERT INTO `ΔЖ日` VALUES (1);
INSERT INTO orders VALUES (1, 1);

-- Code. What the stock client takes for comments it does not send: tests add a routine with some.
DELIMITER ;;
CREATE FUNCTION doubled(n INT) RETURNS INT DETERMINISTIC RETURN n * 2;;
CREATE FUNCTION `odd ``name` (s TEXT CHARSET latin1) RETURNS TEXT CHARSET utf8mb4 DETERMINISTIC
COMMENT 'it''s; \\' RETURN concat(s, ';;', "\n");;
CREATE AGGREGATE FUNCTION summed(x INT) RETURNS INT
BEGIN
  DECLARE total INT DEFAULT 0;
  DECLARE CONTINUE HANDLER FOR NOT FOUND RETURN total;
  LOOP FETCH GROUP NEXT ROW; SET total = total + x; END LOOP;
END;;
CREATE PROCEDURE tidy(IN days INT) SQL SECURITY INVOKER
BEGIN
  DELETE FROM no_key_at_all WHERE b = 'INSERT INTO `x` VALUES
(1);' OR b = '\';;' OR b = ';;';
INSERT INTO `no_key_at_all` VALUES
(1, 'x');
END;;
SET sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES';;
CREATE PROCEDURE literally() BEGIN SELECT 'C:\', "id" FROM "orders"; SELECT 'x\'; END;;
SET sql_mode = 'ORACLE';;
CREATE FUNCTION answer RETURN INT AS BEGIN RETURN 42; END;;
CREATE PACKAGE books AS
  PROCEDURE open_all;
  FUNCTION total RETURN INT;
END;;
CREATE PACKAGE BODY books AS
  PROCEDURE open_all AS BEGIN SELECT ';;'; END;
  FUNCTION total RETURN INT AS BEGIN RETURN 3; END;
END;;
SET sql_mode = 'STRICT_TRANS_TABLES';;
SET time_zone = 'SYSTEM';;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DO BEGIN DELETE FROM orders; END;;
CREATE EVENT `ENABLE DO` ON SCHEDULE AT '2036-01-01' ON COMPLETION PRESERVE ENABLE COMMENT 'ENABLE DO'
DO DELETE FROM orders WHERE c = ' ENABLE DO ';;
CREATE EVENT asleep ON SCHEDULE EVERY 3 HOUR STARTS '2036-01-01' ENDS '2037-01-01' DISABLE DO DELETE FROM orders;;
CREATE EVENT elsewhere ON SCHEDULE EVERY 3 HOUR STARTS '2036-01-01' DISABLE ON SLAVE DO DELETE FROM orders;;
CREATE TRIGGER third AFTER INSERT ON orders FOR EACH ROW SET @x = ';;';;
CREATE TRIGGER first AFTER INSERT ON orders FOR EACH ROW PRECEDES third BEGIN SET @y = 1; SET @z = 'a;;
b'; END;;
CREATE TRIGGER second AFTER INSERT ON orders FOR EACH ROW FOLLOWS first SET @y = 2;;
create trigger everything.never_negative before insert
on everything.only_plain_keys for each row set NEW.a = 99, NEW.b = greatest(NEW.b, 0);;
CREATE TRIGGER `odd ``trigger` BEFORE UPDATE ON `new
line;` FOR EACH ROW SET NEW.p = 1;;
CREATE PROCEDURE reach() BEGIN DELETE FROM everything.orders; END;;
DELIMITER ;
CREATE VIEW b_first AS SELECT doubled(c) AS d, count(*) AS n FROM orders GROUP BY c;
CREATE SQL SECURITY INVOKER VIEW a_second AS SELECT d FROM b_first WHERE d > 1;
CREATE ALGORITHM=TEMPTABLE VIEW `view ``odd` AS SELECT 'a;\nb' AS `x;y`, `k
l,(` FROM `select`;
