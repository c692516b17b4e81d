// Tokens of a head in the orders that attention's products read and write.
#pragma once

#include "attention.h"

namespace varidiff::attention {

/** [tokens, lanes of features], zero behind the last token. */
template <typename T>
void packRows(const T* from, int64_t step, int64_t tokens, int64_t padded, int64_t features, int32_t* to);

/** [lanes of tokens, features], zero behind the last token. */
template <typename T>
void packTokens(const T* from, int64_t step, int64_t tokens, int64_t padded, int64_t features, int32_t* to);

/** Panels of keys, each [lanes of features, keys of the panel]; behind the last token it is repeated. */
template <typename T>
void packPanels(const T* from, int64_t step, int64_t tokens, int64_t padded, int64_t features, int32_t* to);

/** `to` [tokens, features] = scale * transpose of `from` [features, width] */
template <typename T>
void unpackPanel(const float* from, int64_t width, int64_t tokens, int64_t features, float scale, T* to, int64_t step);

}  // namespace varidiff::attention
