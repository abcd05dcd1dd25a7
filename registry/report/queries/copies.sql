-- How many contents there are so many times, and what they come to.
SELECT copies, count(*) AS contents, sum(size) AS bytes, sum((copies - 1) * size) AS wasted
FROM contents
GROUP BY copies
ORDER BY copies
