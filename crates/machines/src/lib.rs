//! The backend that runs a scenario on virtual machines.
