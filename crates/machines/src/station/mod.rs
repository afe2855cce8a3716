//! Stations on the cables of a switch: what [`natrig_lab::station`] measures with, between real gateways.

mod cable;
mod stations;

pub use stations::Stations;
