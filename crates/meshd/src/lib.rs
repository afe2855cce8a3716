//! The omerta-mesh daemon and library.
