/* tests/demo/png.h - a grayscale PNG file (ISO/IEC 15948), with its data stored and not compressed. */
#pragma once

#include "proto/base/builder.h"

/* png_build appends a whole file of `height` rows of `width` 8-bit samples. */
void png_build(const uint8_t *samples, uint32_t width, uint32_t height, struct builder *out);
