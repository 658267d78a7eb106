// How the process treats memory that arrays give back.
#pragma once

namespace redline {

// Keep freed memory for the next array instead of returning it to the system. Activations of a prefill are
// megabytes each and live for one op: returned, every page of every one is cleared by the kernel again, which
// costs several times the arithmetic of the element-wise ops. Returns false where the C library has no such
// setting. Affects the whole process.
bool keep_freed_memory();

// Give what was freed so far back to the system.
void return_freed_memory();

}  // namespace redline
