/* Reads a million random texts, each in memory that ends where it does, and prints how many were lists of pixels. */

#include <stdio.h>
#include <stdlib.h>

#include "../../../../serving/protocol/_pixels.c"

#define TEXTS 1000000
#define LONGEST 14
#define MAX_PIXELS 4

static const char ALPHABET[] = "[],0123456789 \n-.e";

int main(void)
{
    int lists = 0;
    srand(1);
    for (int n = 0; n < TEXTS; n++) {
        int length = 2 + rand() % (LONGEST - 1), size = 1 + rand() % MAX_PIXELS;
        char *text = malloc((size_t)length);
        unsigned char *pixels = malloc((size_t)size);
        for (int i = 0; i < length; i++)
            text[i] = ALPHABET[rand() % (int)(sizeof ALPHABET - 1)];
        if (rand() % 2)
            text[0] = '[', text[length - 1] = ']';
        lists += read_list(text, text + length, pixels, size);
        free(text);
        free(pixels);
    }
    printf("%d\n", lists);
    return 0;
}
