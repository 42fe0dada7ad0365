// Java's HttpClient; see programs.sh.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.net.http.WebSocket;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;

public class Programs {
    static final String BASE = "https://ok.test";
    static final HttpClient CLIENT = HttpClient.newHttpClient();

    static HttpRequest.Builder to(String path) {
        return HttpRequest.newBuilder(URI.create(BASE + path));
    }

    static void check(String feature, HttpRequest request, Predicate<HttpResponse<String>> good) {
        try {
            var response = CLIENT.send(request, BodyHandlers.ofString());
            System.out.println(feature + (good.test(response) ? " ok" : " bad"));
        } catch (Exception error) {
            System.out.println(feature + " bad");
            error.printStackTrace();
        }
    }

    public static void main(String[] arguments) throws Exception {
        check("get", to("/status/200?get-java").build(),
                r -> r.version() == HttpClient.Version.HTTP_2 && r.body().equals("as asked\n"));
        var large = "x".repeat(1 << 20);
        check("post", to("/echo?post-java").POST(BodyPublishers.ofString(large)).build(), r -> r.body().equals(large));
        check("down", to("/bytes/8000000?down-java").build(), r -> r.body().length() == 8000000);
        check("sse", to("/stream/20?sse-java").build(), r -> r.body().endsWith("data: 19\n\n"));
        check("denied", to("/denied?denied-java").build(),
                r -> r.statusCode() == 403 && r.headers().firstValue("x-httpjail").orElse("").equals("deny"));
        var heard = new CompletableFuture<String>();
        try {
            var socket = CLIENT.newWebSocketBuilder().buildAsync(URI.create("wss://ws.test:9443/"), new WebSocket.Listener() {
                public CompletionStage<?> onText(WebSocket from, CharSequence text, boolean last) {
                    heard.complete(text.toString());
                    return null;
                }
            }).get(20, TimeUnit.SECONDS);
            socket.sendText("ping", true);
            System.out.println("websocket " + (heard.get(20, TimeUnit.SECONDS).equals("ping") ? "ok" : "bad"));
            socket.abort();
        } catch (Exception error) {
            System.out.println("websocket bad");
            error.printStackTrace();
        }
    }
}
