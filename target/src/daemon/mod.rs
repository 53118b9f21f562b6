//! Configuration and what `serve` does around the engine.
