import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.BsonTimestamp;
import de.bwaldvogel.mongo.bson.Document;
import io.netty.channel.Channel;
import java.time.Instant;
import java.util.List;

/** mongo-java-server on the loopback port given, answering `hello` as the drivers of today ask it. */
public class Serve {
    public static void main(String[] arguments) throws Exception {
        MemoryBackend backend = new MemoryBackend() {
            @Override
            public Document handleCommand(Channel channel, String database, String command, Document query) {
                boolean hello = command.equalsIgnoreCase("hello");
                Document reply = super.handleCommand(channel, database, hello ? "isMaster" : command, query);
                if (hello) {
                    reply.put("isWritablePrimary", true);
                }
                // Change streams start from the time of an operation.
                reply.put("operationTime", new BsonTimestamp(Instant.now(), 1));
                return reply;
            }
        };
        // Drivers refuse a server that speaks less than wire version 9.
        backend.version(new MongoVersion() {
            public List<Integer> getVersionArray() {
                return List.of(6, 0, 0);
            }

            public int getWireVersion() {
                return 17;
            }
        });
        backend.enableOplog();
        new MongoServer(backend).bind("127.0.0.1", Integer.parseInt(arguments[0]));
        Thread.currentThread().join();
    }
}
