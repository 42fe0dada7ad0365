/* Rust takes its randomness from ProcessPrng in bcryptprimitives.dll, which wine 8 does not have. RtlGenRandom, which is
 * exported as SystemFunction036, gives the same. */
#include <stddef.h>

__declspec(dllimport) unsigned char __stdcall SystemFunction036(void *buffer, unsigned long length);

__declspec(dllexport) int __stdcall ProcessPrng(unsigned char *buffer, size_t length)
{
    while (length > 0) {
        unsigned long part = length > 0x40000000 ? 0x40000000 : (unsigned long)length;
        if (!SystemFunction036(buffer, part))
            return 0;
        buffer += part;
        length -= part;
    }
    return 1;
}
