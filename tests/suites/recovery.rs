//! Error recovery: both session machines against each other over a network that damages, loses and cuts, thousands of times.

mod recovery {
    mod simulation;
    mod sockets;
    mod world;
}
