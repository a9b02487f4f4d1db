//! The gRPC contract of Gleitzeit and the code generated from it.
