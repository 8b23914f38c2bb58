-- The demo marketplace. @rows, set before this text, is about the number of rows of all tables together.
-- Deterministic: the same @rows gives the same database.
SET NAMES utf8mb4;
SET time_zone = '+00:00';
SET @users = ceil(@rows / 20), @products = ceil(@rows / 40), @orders = ceil(@rows / 5),
    @items = ceil(@rows / 2), @reviews = ceil(@rows / 6), @searches = ceil(@rows / 20);

CREATE TABLE users (
  id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
  name VARCHAR(120) NOT NULL,
  email VARCHAR(190) NOT NULL UNIQUE,
  country CHAR(2),
  settings JSON,
  created_at DATETIME NOT NULL
);
CREATE TABLE products (
  id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
  seller_id INT UNSIGNED NOT NULL,
  title VARCHAR(200) NOT NULL,
  description TEXT,
  category ENUM('home', 'garden', 'books', 'toys', 'music') NOT NULL,
  price DECIMAL(10, 2) NOT NULL,
  price_with_tax DECIMAL(10, 2) AS (round(price * 1.2, 2)) STORED,
  slug VARCHAR(200) AS (lower(replace(title, ' ', '-'))) VIRTUAL,
  thumbnail BLOB,
  FULLTEXT KEY (title),
  CONSTRAINT products_seller FOREIGN KEY (seller_id) REFERENCES users (id)
);
CREATE TABLE orders (
  id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
  user_id INT UNSIGNED NOT NULL,
  status ENUM('new', 'paid', 'sent', 'returned') NOT NULL DEFAULT 'new',
  note VARCHAR(300),
  placed_at TIMESTAMP NOT NULL DEFAULT current_timestamp(),
  KEY (placed_at),
  CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id)
);
CREATE TABLE order_items (
  order_id INT UNSIGNED NOT NULL,
  position SMALLINT UNSIGNED NOT NULL,
  product_id INT UNSIGNED NOT NULL,
  quantity SMALLINT UNSIGNED NOT NULL,
  price DECIMAL(10, 2) NOT NULL,
  PRIMARY KEY (order_id, position),
  CONSTRAINT items_order FOREIGN KEY (order_id) REFERENCES orders (id),
  CONSTRAINT items_product FOREIGN KEY (product_id) REFERENCES products (id)
);
CREATE TABLE reviews (
  id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
  product_id INT UNSIGNED NOT NULL,
  user_id INT UNSIGNED NOT NULL,
  stars TINYINT UNSIGNED NOT NULL,
  body TEXT,
  created_at DATETIME NOT NULL,
  CONSTRAINT reviews_product FOREIGN KEY (product_id) REFERENCES products (id),
  CONSTRAINT reviews_user FOREIGN KEY (user_id) REFERENCES users (id)
);
CREATE TABLE search_log (words VARCHAR(200), found INT, searched_at DATETIME); -- no primary key, as in real life

DELIMITER ;;
CREATE FUNCTION in_francs(euros DECIMAL(10, 2)) RETURNS DECIMAL(10, 2) DETERMINISTIC RETURN round(euros * 0.93, 2);;
CREATE PROCEDURE close_old_orders() BEGIN
  UPDATE orders SET status = 'sent' WHERE status = 'paid' AND placed_at < now() - INTERVAL 90 DAY;
END;;
CREATE EVENT forget_searches ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01' DISABLE
DO DELETE FROM search_log WHERE searched_at < now() - INTERVAL 1 YEAR;;
DELIMITER ;

INSERT INTO users (name, email, country, settings, created_at)
SELECT
  concat_ws(' ',
    elt(1 + seq % 13, 'Ada', 'Béla', 'Chloé', 'Dmitri', 'Eun-ji', 'Fatima', 'Grace', 'Håkon', 'Inés', 'Jun', 'Kofi', 'Łucja', '明'),
    elt(1 + seq % 11, 'Abe', 'Berg', 'Castro', 'Dubois', 'Evans', 'Fischer', 'García', 'Haddad', 'Ito', 'Jansen', 'O''Hara')),
  concat('user', seq, '@example.com'),
  if(seq % 9, elt(1 + seq % 7, 'CH', 'DE', 'FR', 'JP', 'BR', 'GH', 'SE'), NULL),
  json_object('newsletter', seq % 2 = 0, 'theme', elt(1 + seq % 2, 'light', 'dark')),
  '2023-01-01' + INTERVAL seq * 37 MINUTE
FROM seq_1_to_100000000 WHERE seq <= @users;

INSERT INTO products (seller_id, title, description, category, price, thumbnail)
SELECT
  1 + seq * 17 % @users,
  concat_ws(' ',
    elt(1 + seq % 9, 'Oak', 'Blue', 'Folding', 'Antique', 'Woven', 'Copper', 'Tiny', 'Striped', 'Glass'),
    elt(1 + seq % 10, 'lamp', 'kettle', 'chair', 'teapot', 'atlas', 'puzzle', 'violin', 'blanket', 'planter', 'mirror'), seq),
  concat('Made by hand in a small workshop, number ', seq, '.\nCare: ', elt(1 + seq % 3, 'wipe with a dry cloth', 'oil once a year', 'keep out of the sun'), '.'),
  elt(1 + seq % 5, 'home', 'garden', 'books', 'toys', 'music'),
  1 + seq * 7919 % 50000 / 100,
  -- bytes of every value, so that a dump which mangles one is noticed
  concat(unhex('FFD8FFE000275C0A0D1A22'), unhex(repeat(sha2(seq, 512), 4)))
FROM seq_1_to_100000000 WHERE seq <= @products;

INSERT INTO orders (user_id, status, note, placed_at)
SELECT
  1 + seq * 31 % @users, elt(1 + seq % 4, 'new', 'paid', 'sent', 'returned'),
  if(seq % 3, concat_ws(' ',
    elt(1 + seq % 5, 'Please leave it', 'Ring twice and leave it', 'Gift wrap, then put it', 'Call first; otherwise put it', 'Leave it'),
    elt(1 + seq % 7, 'with the neighbour', 'behind the shed', 'at the back door', 'under the stairs', 'in the porch', 'at the bakery', 'on the wall')), NULL),
  '2024-01-01' + INTERVAL seq * 11 % 1000000 MINUTE
FROM seq_1_to_100000000 WHERE seq <= @orders;

INSERT INTO order_items (order_id, position, product_id, quantity, price)
SELECT 1 + (seq - 1) % @orders, 1 + (seq - 1) DIV @orders, 1 + seq * 13 % @products, 1 + seq % 4, 1 + seq * 7919 % 50000 / 100
FROM seq_1_to_100000000 WHERE seq <= @items;

INSERT INTO reviews (product_id, user_id, stars, body, created_at)
SELECT
  1 + seq * 19 % @products, 1 + seq * 23 % @users, 1 + seq % 5,
  concat_ws('. ',
    elt(1 + seq % 7, 'Bought it for my sister', 'Arrived two days late', 'Exactly as in the picture', 'My third order here',
      'Not what I expected', 'A gift that worked out well', 'The seller answered at once'),
    elt(1 + seq % 6, 'The finish is better than the price suggests', 'The box was dented but the content is fine',
      'It smells of varnish for a week', 'Assembly took an hour and one missing screw',
      'The colour is darker than shown', 'It has been in daily use since'),
    concat('Compared with number ', cast(seq * 7 % @products AS UNSIGNED), ' it is ',
      elt(1 + seq % 5, 'heavier', 'lighter', 'larger', 'much the same', 'a class of its own')),
    elt(1 + seq % 8, 'Would buy again 👍', 'Sending it back', 'Four stars for the packaging', 'My cat loves it 🐈',
      'No complaints', 'Recommended to two friends 🎉', 'It says "fragile" and means it', 'C:\\shop\\returns; -- see there')),
  '2024-01-01' + INTERVAL seq * 17 MINUTE
FROM seq_1_to_100000000 WHERE seq <= @reviews;

INSERT INTO search_log
SELECT elt(1 + seq % 6, 'lamp', 'blue teapot', 'gift under 20', 'violin strings', 'second-hand atlas', 'planter'), seq % 40,
  '2025-01-01' + INTERVAL seq % 100000 SECOND
FROM seq_1_to_100000000 WHERE seq <= @searches;

CREATE VIEW product_ratings AS
SELECT product_id, count(*) AS reviews, round(avg(stars), 2) AS stars FROM reviews GROUP BY product_id;
CREATE VIEW best_products AS
SELECT p.id, p.title, r.stars FROM products p JOIN product_ratings r ON r.product_id = p.id WHERE r.stars >= 4;
CREATE TRIGGER reviews_stars BEFORE INSERT ON reviews FOR EACH ROW
SET NEW.stars = least(greatest(NEW.stars, 1), 5);
