//! Configuration and what `serve` does around the engine.
//!
//! Flags ([`disk_flag`]) and the configuration file ([`config`]) both become a [`spec::ServeSpec`]: checked for form,
//! nothing opened. [`prepare`] creates and opens the images and their state folders. [`server_config`] turns them
//! into what the engine is started with. [`facts`], [`addresses`] and [`connect`] tell people and programs what is served and how to
//! reach it.

pub mod addresses;
pub mod child;
pub mod config;
pub mod connect;
pub mod control;
pub mod disk_flag;
pub mod facts;
pub mod images;
pub mod name;
pub mod nearest;
pub mod prepare;
pub mod server_config;
pub mod size;
pub mod spec;
