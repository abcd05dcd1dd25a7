-- What the layers hold: files as they are stored, and each content once. A hard link stores nothing.
SELECT coalesce(sum(copies), 0) AS files, sum(copies * size) AS bytes,
  (SELECT count(*) FROM (SELECT DISTINCT layer_id FROM entries WHERE kind = 'file') l) AS layers,
  count(*) AS contents, sum(size) AS content_bytes
FROM contents
