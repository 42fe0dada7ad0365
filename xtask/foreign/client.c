/* A program for Windows that heeds HTTP_PROXY: `client URL` prints the status of a GET. Wine brings none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <winsock2.h>

static void base64(const char *from, char *to)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t length = strlen(from);
    for (size_t at = 0; at < length; at += 3) {
        unsigned bits = 0;
        for (size_t byte = 0; byte < 3; byte++)
            bits = bits << 8 | (at + byte < length ? (unsigned char)from[at + byte] : 0);
        for (int digit = 0; digit < 4; digit++)
            *to++ = at + digit > length ? '=' : digits[bits >> (18 - 6 * digit) & 63];
    }
    *to = 0;
}

int main(int count, char **arguments)
{
    char credentials[256], host[64], coded[512], request[2048], answer[64];
    int port;
    const char *proxy = getenv("HTTP_PROXY");
    if (count != 2 || !proxy || sscanf(proxy, "http://%255[^@]@%63[^:]:%d", credentials, host, &port) != 3) {
        fprintf(stderr, "client: no proxy, or no URL\n");
        return 2;
    }
    base64(credentials, coded);
    snprintf(request, sizeof request,
             "GET %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\nConnection: close\r\n\r\n", arguments[1],
             getenv("CLIENT_HOST"), coded);
    WSADATA data;
    WSAStartup(MAKEWORD(2, 2), &data);
    SOCKET server = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {0};
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)port);
    address.sin_addr.s_addr = inet_addr(host);
    if (connect(server, (struct sockaddr *)&address, sizeof address) != 0) {
        fprintf(stderr, "client: no connection\n");
        return 2;
    }
    send(server, request, (int)strlen(request), 0);
    int got = 0, more;
    while (got < 12 && (more = recv(server, answer + got, (int)sizeof answer - 1 - got, 0)) > 0)
        got += more;
    answer[got > 0 ? got : 0] = 0;
    printf("%.3s\n", got >= 12 ? answer + 9 : "???");
    return 0;
}
