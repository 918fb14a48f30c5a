"""Charts as Vega-Lite specifications, made of plain values: one chart language for console, reports and docs."""
