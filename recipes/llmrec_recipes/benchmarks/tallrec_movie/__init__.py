"""TALLRec's few-shot benchmark: likes of films, each record with a user history of its own."""
