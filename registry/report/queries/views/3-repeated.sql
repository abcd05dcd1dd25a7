-- Contents that are stored more than once, with the bytes that go if each were stored once. Empty files waste nothing.
SELECT file_id, size, copies, (copies - 1) * size AS wasted
FROM contents
WHERE copies > 1 AND size > 0
