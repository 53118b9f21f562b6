//! Configuration and what `serve` does around the engine.
//!
//! Flags ([`disk_flag`]) and the configuration file ([`config`]) both become a [`spec::ServeSpec`]: checked for form,
//! nothing opened. [`prepare`] creates and opens the images and their state folders. [`addresses`] and [`connect`] tell
//! people and programs how to reach what is served.

pub mod addresses;
pub mod config;
pub mod connect;
pub mod disk_flag;
pub mod images;
pub mod name;
pub mod nearest;
pub mod prepare;
pub mod size;
pub mod spec;
