//! The control interface of a running `serve`: HTTP/1.1 with JSON over a Unix socket that only the user who runs it can open.
//!
//! * [`routes`] is the one table of what can be asked: method, path, and the function that does it.
//! * [`model`] is what goes over the wire, the same types for both ends.
//! * [`Manager`] does it: it owns the open images, and brings the engine and the files together. [`media`] has what is done to the image
//!   of a LUN.
//! * [`listen`] is the socket, [`address`] where it is.
//!
//! Nothing here is reached from the network, and what is changed lasts until `serve` ends, except in the images themselves.

pub mod address;
pub mod listen;
pub mod manager;
pub mod media;
pub mod model;
pub mod refusal;
pub mod routes;

pub use manager::Manager;
pub use refusal::Refusal;
