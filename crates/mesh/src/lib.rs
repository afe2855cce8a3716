//! The omerta-mesh node as a sans-IO state machine.
