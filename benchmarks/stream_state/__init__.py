"""What a step of the stream costs: processor time an event, bytes an entity, and the longest pause of a reader."""
