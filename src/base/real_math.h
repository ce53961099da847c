// Exponentials, logarithms and powers that are the same bits on every CPU and compiler.
//
// The C library picks its code by CPU (with or without FMA), so the last bits of its answers differ
// between machines, and a simulation that branches on them takes another course. Here there are
// only
// + - * / and integer work on the bits of a double, which IEEE 754 fixes.   Source: DESIGN.md 4.12.
// Must never include <cmath>, nor be built with -ffast-math or FMA contraction (CMake hands
// -ffp-contract=off to all who link base).
//
// Errors: relative, below 1e-12 (measured: below 1e-15 but for pow and gamma of huge results).
// Out of range: as IEEE has it: infinities, zeros, and NaN for what is not a number.
#pragma once

namespace stoker::real_math {

[[nodiscard]] double exp(double x);
/// Gives: powers of two exactly.
[[nodiscard]] double exp2(double x);
[[nodiscard]] double log(double x);
/// Gives: whole numbers exactly for powers of two.
[[nodiscard]] double log2(double x);
/// Needs: x >= 0; NaN otherwise.
[[nodiscard]] double pow(double x, double y);
/// The square root, correctly rounded. The machine's instruction: IEEE 754 fixes all of its bits,
/// so a Newton loop of ours could only be slower.
[[nodiscard]] double sqrt(double x);
/// log(gamma(x)).  Needs: x > 0; NaN otherwise.  Errors: absolute 1e-13 near its zeros, 1 and 2.
[[nodiscard]] double log_gamma(double x);
/// The gamma function: (n - 1)! between the whole numbers too.  Needs: x > 0; NaN otherwise.
[[nodiscard]] double gamma(double x);

}  // namespace stoker::real_math
