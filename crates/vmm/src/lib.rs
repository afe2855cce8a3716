//! QEMU processes, guest images, templates and clones.
