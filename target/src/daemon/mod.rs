//! Configuration and what `serve` does around the engine.
//!
//! Flags ([`disk_flag`]) and the configuration file ([`config`]) both become a [`spec::ServeSpec`]: checked for form,
//! nothing opened.

pub mod config;
pub mod disk_flag;
pub mod nearest;
pub mod size;
pub mod spec;
