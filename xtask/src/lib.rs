//! What the project's tasks share with the tests: where the guest kernels are cached.

pub mod guest_kernel;
