//! What tests, demos and benchmarks need beside the product.
