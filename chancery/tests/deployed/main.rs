//! The manifests of `deploy/` in a whole cluster, as they are, with everything in it that they ask for.
//!
//! `KUBE_LAB` names a binary that runs a cluster whose containers are processes of this machine (`up --dir DIR --images
//! FILE`, `exec --dir DIR -- COMMAND`). Without it, without root, or where one of the programs is missing that stand for
//! images, the tests are skipped and say so.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod lab;
mod shared_limits;
