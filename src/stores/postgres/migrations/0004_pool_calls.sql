-- How a pool makes its calls: retry budget, hedging, batching, single flight. JSON; what is left out has its default.
ALTER TABLE pools ADD COLUMN calls TEXT NOT NULL DEFAULT '{}';
