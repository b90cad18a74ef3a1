"""The targets beside classes, functions and sums: units, maps, boxes, embeddings, outputs, contrasts."""
